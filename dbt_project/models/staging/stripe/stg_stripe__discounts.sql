with

source as (

    select
        *,
        {{ load_rank('id', '_landed_at') }} as load_rank
    from {{ stripe('discount') }}

),

renamed as (

    select
        ---------- ids
        id as discount_id,
        coupon_id,
        customer_id as stripe_customer_id,
        subscription_id,
        ---------- attributes
        coalesce(lower(type), case when subscription_id is null then 'customer' else 'subscription' end) as discount_type,
        ---------- timestamps
        {{ utc_timestamp(adapter.quote('start')) }} as started_at,
        {{ utc_timestamp(adapter.quote('end')) }} as ends_at,
        {{ utc_timestamp('_landed_at') }} as loaded_at
    from source
    where
        load_rank = 1
        and id is not null

),

known as (

    select *
    from renamed
    where started_at <= {{ as_of_at() }}

)

select * from known
