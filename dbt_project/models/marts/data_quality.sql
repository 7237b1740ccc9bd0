-- Rows that were set aside, counted once too often by a loader, or that contradict each other; nothing where all is well.
with

landed as (

    select * from {{ ref('int_rows__landed') }}

),

unplaced as (

    select * from {{ ref('int_rows__unplaced') }}

),

unioned as (

    select * from landed

    union all

    select * from unplaced

),

final as (

    select
        source,
        rule,
        cast(row_count as bigint) as row_count,
        example_key
    from unioned
    where row_count > 0

)

select * from final
