-- From one day built to the next a segment changes by who entered and who left, in the whole and in each group.
with

sizes as (

    select * from {{ ref('segment_sizes') }}

),

final as (

    select
        sizes.as_of_date,
        sizes.segment_name,
        sizes.segment_group,
        coalesce(earlier.size, 0) + sizes.entered - sizes.departed as expected_size,
        sizes.size
    from sizes
    left join sizes as earlier
        on
            sizes.segment_name = earlier.segment_name
            and sizes.segment_group = earlier.segment_group
            and sizes.compared_with_date = earlier.as_of_date
    where
        sizes.compared_with_date is not null
        and coalesce(earlier.size, 0) + sizes.entered - sizes.departed <> sizes.size

)

select * from final
