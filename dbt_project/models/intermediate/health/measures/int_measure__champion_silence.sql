-- Days since the champion last worked in the product: the contact who was active on the most days of the three months
-- before this one. Nothing for customers who were not there then.
with

customer_days as (

    select * from {{ ref('int_customer_days') }}

),

usage_daily as (

    select * from {{ ref('int_usage__daily') }}

),

active_days as (

    select distinct
        customer_id,
        contact_id,
        known_date as active_date,
        cast({{ dbt.date_trunc('month', 'known_date') }} as date) as month
    from usage_daily
    where
        customer_id is not null
        and contact_id is not null
        and known_date >= {{ dbt.dateadd('month', -3, dbt.date_trunc('month', first_scored_day())) }}

),

active_months as (

    select
        customer_id,
        contact_id,
        month,
        count(*) as day_count,
        max(active_date) as last_active_date
    from active_days
    group by
        customer_id,
        contact_id,
        month

),

months as (

    select distinct cast({{ dbt.date_trunc('month', 'as_of_date') }} as date) as month
    from customer_days

),

quarters as (

    select
        months.month,
        active_months.customer_id,
        active_months.contact_id,
        sum(active_months.day_count) as day_count,
        max(active_months.last_active_date) as last_active_date
    from months
    inner join active_months
        on
            active_months.month < months.month
            and active_months.month >= cast({{ dbt.dateadd('month', -3, 'months.month') }} as date)
    group by
        months.month,
        active_months.customer_id,
        active_months.contact_id

),

ranked as (

    select
        quarters.*,
        row_number() over (
            partition by customer_id, month
            order by day_count desc, last_active_date desc, contact_id
        ) as activity_rank
    from quarters

),

champions as (

    select *
    from ranked
    where activity_rank = 1

),

-- what was seen of them before the month, in it, and the days that ask
moments as (

    select
        customer_id,
        month,
        cast(null as date) as as_of_date,
        last_active_date as on_date,
        last_active_date as active_date
    from champions

    union all

    select
        champions.customer_id,
        champions.month,
        cast(null as date) as as_of_date,
        active_days.active_date as on_date,
        active_days.active_date
    from champions
    inner join active_days
        on
            champions.customer_id = active_days.customer_id
            and champions.contact_id = active_days.contact_id
            and champions.month = active_days.month

    union all

    select
        champions.customer_id,
        champions.month,
        customer_days.as_of_date,
        customer_days.as_of_date as on_date,
        cast(null as date) as active_date
    from customer_days
    inner join champions
        on
            customer_days.customer_id = champions.customer_id
            and cast({{ dbt.date_trunc('month', 'customer_days.as_of_date') }} as date) = champions.month

),

last_active as (

    select
        customer_id,
        as_of_date,
        max(active_date) over (
            partition by customer_id, month
            order by on_date
        ) as last_active_date
    from moments

),

final as (

    select
        customer_days.customer_id,
        customer_days.as_of_date,
        cast({{ days_between('last_active.last_active_date', 'customer_days.as_of_date') }} as double precision) as raw_value,
        customer_days.product_usage_age_days as age_days
    from last_active
    inner join customer_days
        on
            last_active.customer_id = customer_days.customer_id
            and last_active.as_of_date = customer_days.as_of_date

)

select * from final
