-- From one day built to the next a segment or trigger changes by who entered and who left, in the whole and in each group.
{{ config(meta={"dagster": {"ref": {"name": "segment_sizes"}}}) }}
with

segment_sizes as (

    select * from {{ ref('segment_sizes') }}

),

trigger_sizes as (

    select * from {{ ref('trigger_sizes') }}

),

sizes as (

    select
        as_of_date,
        'segment' as kind,
        segment_name as name,
        segment_group as name_group,
        size,
        compared_with_date,
        entered,
        departed
    from segment_sizes

    union all

    select
        as_of_date,
        'trigger' as kind,
        trigger_name as name,
        '' as name_group,
        size,
        compared_with_date,
        entered,
        departed
    from trigger_sizes

),

final as (

    select
        sizes.as_of_date,
        sizes.kind,
        sizes.name,
        sizes.name_group,
        coalesce(earlier.size, 0) + sizes.entered - sizes.departed as expected_size,
        sizes.size
    from sizes
    left join sizes as earlier
        on
            sizes.kind = earlier.kind
            and sizes.name = earlier.name
            and sizes.name_group = earlier.name_group
            and sizes.compared_with_date = earlier.as_of_date
    where
        sizes.compared_with_date is not null
        and coalesce(earlier.size, 0) + sizes.entered - sizes.departed <> sizes.size

)

select * from final
