-- A stage begins where the one before ended, and the present one has not ended.
with

stages as (

    select * from {{ ref('customer_journey_history') }}

),

followed as (

    select
        stages.*,
        lead(entered_at) over (
            partition by customer_id
            order by entered_at
        ) as next_entered_at
    from stages

)

select *
from followed
where
    coalesce(exited_at, {{ as_of_at() }}) <> coalesce(next_entered_at, {{ as_of_at() }})
    or exited_at <= entered_at
