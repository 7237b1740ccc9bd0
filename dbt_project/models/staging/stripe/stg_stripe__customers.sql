with

source as (

    select
        *,
        {{ load_rank('id', '_fivetran_synced') }} as load_rank
    from {{ source('raw_stripe', 'customer') }}

),

renamed as (

    select
        ---------- ids
        id as stripe_customer_id,
        {{ json_text('metadata', 'workspace_id') }} as workspace_id,
        ---------- attributes
        name as customer_name,
        {{ normalised_email('email') }} as email,
        lower(currency) as currency,
        upper(address_country) as country,
        {{ true_or_false('is_deleted') }} as is_deleted,
        ---------- timestamps
        {{ utc_timestamp('created') }} as created_at,
        {{ utc_timestamp('_fivetran_synced') }} as loaded_at
    from source
    where
        load_rank = 1
        and id is not null

),

known as (

    select *
    from renamed
    where created_at <= {{ as_of_at() }}

)

select * from known
