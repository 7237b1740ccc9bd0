-- Each scored day on which a customer had a live subscription: what was sold to it, for how long it is here, what it is
-- worth, and how long ago each source spoke. Every fact as it was known at the end of that day.
with

days as (

    select * from {{ ref('int_days') }}

),

spells as (

    select * from {{ ref('int_customer_spells') }}

),

versions as (

    select * from {{ ref('stg_stripe__subscription_versions') }}

),

priced as (

    select * from {{ ref('int_subscriptions__priced') }}

),

customer_months as (

    select * from {{ ref('int_customer_months__summed') }}

),

lifetimes as (

    select * from {{ ref('int_lifetimes__expected') }}

),

subscription_months as (

    select * from {{ ref('int_subscription_months__priced') }}

),

tiers as (

    select * from {{ ref('tiers') }}

),

tenure_bands as (

    select * from {{ ref('tenure_bands') }}

),

feeds as (

    select * from {{ ref('int_feeds__heard') }}

),

live_days as (

    select
        spells.customer_id,
        days.as_of_date,
        spells.live_from,
        spells.paid_from,
        spells.notice_at,
        {{ days_between('spells.live_from', 'days.as_of_date') }} as tenure_days,
        cast({{ dbt.dateadd('month', -1, dbt.date_trunc('month', 'days.as_of_date')) }} as date) as last_month
    from days
    inner join spells
        on
            cast(spells.live_from as date) <= days.as_of_date
            and (spells.ended_at is null or cast(spells.ended_at as date) > days.as_of_date)

),

-- seats of the versions in force at the end of the day; where a loader keeps none, those of the present
seat_changes as (

    select
        versions.stripe_customer_id as customer_id,
        cast(versions.valid_from as date) as on_date,
        coalesce(versions.seats, priced.seats, 0) as seats
    from versions
    left join priced
        on versions.subscription_id = priced.subscription_id
    where versions.status in ('trialing', 'active', 'past_due')

    union all

    select
        versions.stripe_customer_id as customer_id,
        cast(versions.valid_to as date) as on_date,
        -1 * coalesce(versions.seats, priced.seats, 0) as seats
    from versions
    left join priced
        on versions.subscription_id = priced.subscription_id
    where
        versions.status in ('trialing', 'active', 'past_due')
        and versions.valid_to <= {{ as_of_at() }}

),

seat_moments as (

    select
        customer_id,
        on_date,
        sum(seats) as seats,
        max(is_scored) as is_scored
    from (
        select
            customer_id,
            on_date,
            seats,
            0 as is_scored
        from seat_changes

        union all

        select
            customer_id,
            as_of_date as on_date,
            0 as seats,
            1 as is_scored
        from live_days
    ) as changed
    group by
        customer_id,
        on_date

),

seats as (

    select
        customer_id,
        on_date,
        is_scored,
        sum(seats) over (
            partition by customer_id
            order by on_date
        ) as seats_bought
    from seat_moments

),

-- worth at the end of the month before: what a month in progress will come to is not known yet
plans_paid as (

    select
        customer_id,
        month,
        plan_name,
        row_number() over (
            partition by customer_id, month
            order by mrr desc, plan_name
        ) as revenue_rank
    from subscription_months
    where mrr > 0

),

worth as (

    select
        customer_months.customer_id,
        customer_months.month,
        customer_months.end_mrr as mrr,
        {{ rounded('customer_months.end_mrr * lifetimes.expected_months * ' ~ threshold('ltv_gross_margin'), 18, 2) }} as ltv
    from customer_months
    inner join plans_paid
        on
            customer_months.customer_id = plans_paid.customer_id
            and customer_months.month = plans_paid.month
            and plans_paid.revenue_rank = 1
    inner join lifetimes
        on
            customer_months.month = lifetimes.month
            and plans_paid.plan_name = lifetimes.plan_name

),

banded as (

    select
        worth.customer_id,
        worth.month,
        worth.mrr,
        max(tiers.min_ltv) as min_ltv
    from worth
    inner join tiers
        on worth.ltv >= tiers.min_ltv
    group by
        worth.customer_id,
        worth.month,
        worth.mrr

),

smallest_tier as (

    select min(min_ltv) as min_ltv
    from tiers

),

tenures as (

    select
        tenure_band,
        min_days,
        lead(min_days) over (order by min_days) as next_min_days
    from tenure_bands

),

final as (

    select
        ---------- ids
        live_days.customer_id,
        live_days.as_of_date,
        ---------- attributes
        tiers.tier,
        tenures.tenure_band,
        coalesce(live_days.paid_from < {{ next_day('live_days.as_of_date') }}, false) as is_paying,
        coalesce(live_days.notice_at < {{ next_day('live_days.as_of_date') }}, false) as has_given_notice,
        ---------- measures
        live_days.tenure_days,
        cast(seats.seats_bought as integer) as seats_bought,
        cast(coalesce(banded.mrr, 0) as decimal(18, 2)) as mrr,
        ---------- timestamps
        live_days.live_from,
        case when live_days.paid_from < {{ next_day('live_days.as_of_date') }} then live_days.paid_from end as paid_from,
        ---------- days since each source spoke
        feeds.product_usage_age_days,
        feeds.support_age_days,
        feeds.surveys_age_days,
        feeds.mail_age_days,
        feeds.website_age_days,
        feeds.community_age_days,
        feeds.billing_age_days
    from live_days
    inner join seats
        on
            live_days.customer_id = seats.customer_id
            and live_days.as_of_date = seats.on_date
            and seats.is_scored = 1
    inner join tenures
        on
            live_days.tenure_days >= tenures.min_days
            and (live_days.tenure_days < tenures.next_min_days or tenures.next_min_days is null)
    cross join smallest_tier
    left join banded
        on
            live_days.customer_id = banded.customer_id
            and live_days.last_month = banded.month
    inner join tiers
        on coalesce(banded.min_ltv, smallest_tier.min_ltv) = tiers.min_ltv
    left join feeds
        on live_days.as_of_date = feeds.as_of_date

)

select * from final
